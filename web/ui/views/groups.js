/* groups.js - ordered lists of ranks under a name. */
import {announce, invalidate} from "../app.js";
import {post, remove} from "../api.js";
import {h} from "../dom.js";
import {plural} from "../format.js";
import {card, confirmThen, copyButton, empty, head, loading, problemBox, rankChip, when} from "../parts.js";
import {href} from "../router.js";
import {firstGroup} from "../snippets.js";
import {loadGroups, mayAct, state} from "../state.js";

export const title = () => "Groups";

let problem = null;

async function create(e) {
    const form = new FormData(e.target), target = e.target;

    e.preventDefault();
    try {
        await post("v1/groups", {name: form.get("name").trim(), ranks: form.get("ranks").split(/[\s,]+/).filter(Boolean).map(Number)});
        problem = null;
        target.reset();
        announce("Group made");
        await loadGroups();
    } catch (error) {
        problem = error;
    }
    invalidate();
}

async function forget(group) {
    try {
        await remove(`v1/groups/${encodeURIComponent(group.name)}`);
        problem = null;
        announce(`Group ${group.name} deleted`);
        await loadGroups();
    } catch (error) {
        problem = error;
    }
    invalidate();
}

function one(g) {
    return h("li", {key: `${g.owner ?? ""}/${g.name}`, class: "card group"},
        h("header", {class: "card-head"}, h("h2", null, g.name, g.owner ? h("small", {class: "quiet"}, ` of ${g.owner}`) : null),
          h("div", {class: "row"}, h("a", {class: "button", href: href(["jobs"], {group: g.name})}, "Jobs"),
            mayAct() && h("a", {class: "button", href: href(["playground"], {group: g.name})}, "Play"),
            mayAct() && g.name !== "world" && h("button", {type: "button", class: "button", "aria-label": `Delete group ${g.name}`,
                onclick: () => confirmThen(`Delete the group "${g.name}"? Its jobs stay; its keys and waiting calls do not.`, "Delete it", () => forget(g))}, "Delete"))),
        h("p", {class: "rank-line", "aria-label": `world ranks ${g.ranks.join(", ")}`}, g.ranks.slice(0, 64).map((r) => rankChip(r)), g.ranks.length > 64 ? "…" : null),
        h("p", {class: "quiet"}, plural(g.ranks.length, "rank"), `, root is rank ${g.ranks[0]} of the world`, g.created_at && g.name !== "world" ? [", made ", when(g.created_at)] : null));
}

function maker() {
    return card("A new group", {id: "new-group"},
        h("form", {class: "filters", onsubmit: create},
          h("label", {class: "field"}, h("span", null, "Name"), h("input", {name: "name", required: true, pattern: "[A-Za-z][A-Za-z0-9_.\\-]*", maxlength: "64", autocomplete: "off", spellcheck: "false"})),
          h("label", {class: "field is-wide"}, h("span", null, "World ranks in order; the first is the root"), h("input", {name: "ranks", required: true, placeholder: "1, 0", inputmode: "numeric", autocomplete: "off"})),
          h("button", {class: "button is-main"}, "Make it")),
        problemBox(problem));
}

export function view() {
    const n = state.service?.world_size ?? 2;

    return [
        head("Groups", "An ordered list of ranks; its first is the root."),
        !state.groups.length ? loading() : h("ul", {class: "group-grid"}, state.groups.map(one)),
        state.groups.length === 1 && empty("Only the world yet", "Name an ordered list of ranks once, and use it in every job.", firstGroup(n)),
        mayAct() && maker(),
    ];
}
