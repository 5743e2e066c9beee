/* signin.js - the service asks who we are. */
import {invalidate} from "../app.js";
import {h} from "../dom.js";
import {icon, mark} from "../icons.js";
import {problemBox} from "../parts.js";
import {signIn} from "../state.js";
import {tokenGet} from "../token.js";

let problem = null, busy = false;

async function submit(e) {
    const token = new FormData(e.target).get("token").trim();

    e.preventDefault();
    busy = true;
    invalidate();
    try {
        await signIn(token);
        problem = null;
    } catch (error) {
        problem = error;
    }
    busy = false;
    invalidate();
}

export function signInView() {
    return h("main", {class: "signin", id: "main"},
        h("form", {class: "card", onsubmit: submit},
          h("p", {class: "brand"}, mark(), "tutti"),
          h("h1", {id: "title", tabindex: "-1"}, "This service asks for a token"),
          h("p", {class: "quiet"}, "It looks like ", h("code", null, "NAME.SECRET"), ". Whoever runs the service makes one with ",
            h("code", null, "--new-token NAME:ROLE"), ", or sends a link that has it. It is kept in this tab alone."),
          !problem && tokenGet() && h("p", {class: "is-warn"}, "The token that this tab had is not taken any more."),
          h("label", {class: "field is-wide"}, h("span", null, "Token"), h("input", {type: "password", name: "token", required: true, autocomplete: "off", spellcheck: "false"})),
          problemBox(problem),
          h("button", {class: "button is-main", disabled: busy}, icon("key"), busy ? "Asking…" : "Come in")));
}
