/* dom.js - descriptions of elements, and a page that becomes what they say.
 *
 * h() describes, render() compares with what it described before and changes only what differs, so that focus, selection
 * and scrolling stay. Strings become text nodes and nothing else: no string is ever parsed as HTML.
 */
const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "open", "readOnly"]);
const OURS = new Set(["key", "mount", "update", "unmount", "vars"]);

/* An element. props: attributes; on* handlers; `vars`, custom properties of CSS; `key`, which it keeps among its siblings when
 * they move; mount(el), update(el) and unmount(el) for what draws by itself. Kids that are null, false or true leave an empty
 * place, so that those behind them stay who they are. */
export function h(tag, props, ...kids) {
    return {tag, props: props ?? {}, key: props?.key, kids: flat(kids), el: null};
}

function flat(kids) {
    const out = [];

    for (const kid of kids) {
        if (Array.isArray(kid))
            out.push(...flat(kid));
        else if (kid === null || kid === undefined || typeof kid === "boolean")
            out.push({text: "", el: null});
        else
            out.push(typeof kid === "object" ? kid : {text: String(kid), el: null});
    }
    return out;
}

let mounted = [];

/* Makes root's children what kids say. */
export function render(root, ...kids) {
    root.tuttiKids = place(root, root.tuttiKids ?? [], flat(kids), false);
    const fresh = mounted; // they stand in the page by now
    mounted = [];
    fresh.forEach((v) => v.props.mount(v.el));
}

/* A description that is made once per object, for rows of long lists: the same object, the same description. */
export function memo(cache, object, make) {
    let v = cache.get(object);

    if (!v) {
        v = make(object);
        cache.set(object, v);
    }
    return v;
}

function place(el, was, now, svg) {
    const keyed = new Map(), plain = [];
    let next = 0;

    for (const v of was)
        if (v.key !== undefined)
            keyed.set(v.key, v);
        else
            plain.push(v);
    for (const v of now) {
        let old = v.key !== undefined ? keyed.get(v.key) : plain[next];

        if (old && old.tag === v.tag) {
            if (v.key !== undefined)
                keyed.delete(v.key);
            else
                next++;
            patch(old, v, svg);
        } else {
            if (v.key === undefined && old && old.tag !== v.tag) {
                drop(old);
                next++;
            }
            create(v, svg);
        }
    }
    for (const v of keyed.values())
        drop(v);
    for (const v of plain.slice(next))
        drop(v);
    let at = el.firstChild;
    for (const v of now) {
        if (v.el === at)
            at = at.nextSibling;
        else
            el.insertBefore(v.el, at);
    }
    return now;
}

function create(v, svg) {
    if (v.tag === undefined) {
        v.el = document.createTextNode(v.text);
        return;
    }
    svg = v.tag === "svg" || (svg && v.tag !== "foreignObject");
    v.el = svg ? document.createElementNS(SVG, v.tag) : document.createElement(v.tag);
    place(v.el, [], v.kids, svg);
    attributes(v.el, {}, v.props);
    if (v.props.mount)
        mounted.push(v);
}

function patch(old, v, svg) {
    if (old === v)
        return;
    v.el = old.el;
    if (v.tag === undefined) {
        if (old.text !== v.text)
            v.el.nodeValue = v.text;
        return;
    }
    place(v.el, old.kids, v.kids, svg || v.tag === "svg");
    attributes(v.el, old.props, v.props);
    v.props.update?.(v.el);
}

function drop(v) {
    unmount(v);
    v.el.remove();
}

function unmount(v) {
    v.kids?.forEach(unmount);
    v.props?.unmount?.(v.el);
}

function attributes(el, was, now) {
    for (const name in was)
        if (!(name in now))
            set(el, name, null);
    for (const name in now)
        if (PROPERTIES.has(name) || was[name] !== now[name])
            set(el, name, now[name]);
    for (const name in now.vars)
        if (was.vars?.[name] !== now.vars[name])
            el.style.setProperty(name, now.vars[name]);
}

function set(el, name, value) {
    if (OURS.has(name))
        return;
    if (name.startsWith("on"))
        el[name] = value;
    else if (PROPERTIES.has(name) && name in el) {
        if (el[name] !== value) // what a person typed meanwhile counts as different, too
            el[name] = value ?? "";
    } else if (value === null || value === undefined || value === false)
        el.removeAttribute(name);
    else
        el.setAttribute(name, value === true ? "" : value);
}
