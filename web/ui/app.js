/* app.js - when the page is drawn anew, and what it says aloud. */
let draw = () => {};
let asked = false;

export const spoken = {text: ""};

export function appStart(drawAll) {
    draw = drawAll;
}

/* Draws before the next frame, once, however often it is asked for. */
export function invalidate() {
    if (asked)
        return;
    asked = true;
    requestAnimationFrame(() => {
        asked = false;
        draw();
    });
}

/* For those who do not see that something has changed, and for a moment for those who do. */
export function announce(text) {
    spoken.text = text;
    invalidate();
    clearTimeout(announce.timer);
    announce.timer = setTimeout(() => {
        spoken.text = "";
        invalidate();
    }, 4000);
}
