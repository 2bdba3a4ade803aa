// Not a module: it runs before the first paint, so that nobody who chose the dark sees a white flash.
(function () {
  try {
    var chosen = localStorage.getItem('killsyncd.theme');
    if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
  } catch (error) {
    // No storage, no choice: the system decides.
  }
})();
