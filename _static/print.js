// Paper is white: a page shown in the dark theme is printed in the light one.
(() => {
  const page = document.documentElement.dataset;
  let shown;
  addEventListener("beforeprint", () => {
    shown = page.theme;
    page.theme = "light";
  });
  addEventListener("afterprint", () => {
    page.theme = shown;
  });
})();
