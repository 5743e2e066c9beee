// docs.js - shows openapi.yaml with Swagger UI. What is tried goes to this service and nowhere else; a token that is
// entered is sent as a header, and kept only as long as the page is open.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

if (window.SwaggerUIBundle)
    SwaggerUIBundle({
        url: "openapi.yaml",
        dom_id: "#api",
        deepLinking: true,
        docExpansion: "list",
        defaultModelsExpandDepth: 0,
        validatorUrl: null,
        persistAuthorization: false,
        queryConfigEnabled: false,
    });
