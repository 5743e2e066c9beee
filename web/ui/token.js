/* token.js - who the page is: a token from the link that the server prints, or from a form; kept while the tab is open. */
const KEY = `tutti.token:${location.pathname}`;
let token = null;

try {
    token = sessionStorage.getItem(KEY);
} catch { /* storage may be forbidden; then it is kept as long as the page */ }

export function tokenGet() {
    return token;
}

export function tokenSet(text) {
    token = text || null;
    try {
        if (token)
            sessionStorage.setItem(KEY, token);
        else
            sessionStorage.removeItem(KEY);
    } catch { /* as above */ }
}

/* Takes it out of the address (#token=NAME.SECRET), so that neither the history nor a person who looks at the screen keeps it.
 * Returns whether there was one. */
export function tokenTake() {
    const found = /^#token=([^&]*)/.exec(location.hash);

    if (!found)
        return false;
    history.replaceState(null, "", location.pathname + location.search + "#/");
    try {
        tokenSet(decodeURIComponent(found[1]).trim());
    } catch {
        tokenSet(found[1].trim());
    }
    return true;
}
