// Asks where the checkout stands until that differs from what the page shows, then shows it anew.
"use strict";
(function () {
  var main = document.querySelector("main");
  var delay = 2000;
  function look() {
    fetch(main.dataset.poll, { headers: { Accept: "application/json" }, cache: "no-store" })
      .then(function (answer) { return answer.ok ? answer.json() : null; })
      .then(function (checkout) {
        if (!checkout) { return; }
        var attempt = checkout.last_attempt || {};
        var fingerprint = [checkout.status, attempt.status || "", attempt.message || ""].join("|");
        if (fingerprint !== main.dataset.fingerprint) { location.reload(); }
      })
      .catch(function () {})
      .then(function () {
        delay = Math.min(delay * 1.1, 15000);
        setTimeout(look, delay);
      });
  }
  setTimeout(look, delay);
})();
