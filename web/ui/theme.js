/* theme.js - light, dark, or what the system says; chosen before the first paint, and remembered. */
(() => {
    const KEY = "tutti.theme";
    const root = document.documentElement;

    function read() {
        try {
            return localStorage.getItem(KEY);
        } catch {
            return null; // storage may be forbidden; then the choice lasts as long as the page
        }
    }

    function apply(theme) {
        if (theme === "light" || theme === "dark")
            root.dataset.theme = theme;
        else
            delete root.dataset.theme;
    }

    const system = matchMedia("(prefers-color-scheme: dark)");
    const theme = {
        dark: () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark",
        toggle() {
            const next = theme.dark() ? "light" : "dark";

            apply(next);
            try {
                localStorage.setItem(KEY, next);
            } catch { /* as above */ }
            window.dispatchEvent(new Event("themechange"));
        },
    };

    apply(read());
    system.addEventListener("change", () => window.dispatchEvent(new Event("themechange")));
    window.tuttiTheme = theme;
})();
