"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  domNode: document.getElementById("document"),
  deepLinking: true,
  // Swagger UI would otherwise ask a validator on the internet.
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
