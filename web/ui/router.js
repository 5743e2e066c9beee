/* router.js - where in the dashboard one is: the address' fragment, "#/jobs/j_...?state=running". */
import {tokenTake} from "./token.js";

let tell = () => {};

export const route = {path: [], query: {}};

function read() {
    const [path, search] = location.hash.replace(/^#\/?/, "").split("?");

    route.path = path.split("/").filter(Boolean).map((part) => {
        try {
            return decodeURIComponent(part);
        } catch {
            return part;
        }
    });
    route.query = Object.fromEntries(new URLSearchParams(search ?? ""));
}

/* changed(newToken) is called whenever the address is another. */
export function routerStart(changed) {
    tell = changed;
    tokenTake();
    read();
    window.addEventListener("hashchange", () => {
        const newToken = tokenTake();

        read();
        tell(newToken);
    });
}

export function href(path, parameters = {}) {
    const search = new URLSearchParams(Object.entries(parameters).filter(([, v]) => v !== undefined && v !== null && v !== ""));

    return "#/" + path.map(encodeURIComponent).join("/") + (search.size ? `?${search}` : "");
}

export function go(path, parameters) {
    location.hash = href(path, parameters);
}

/* Changes the search without a step in the history: for filters that are typed. */
export function refine(parameters) {
    history.replaceState(null, "", href(route.path, parameters));
    read();
    tell(false);
}
