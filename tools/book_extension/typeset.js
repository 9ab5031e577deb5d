// Typeset formulas with MathJax: JSON {mathjax, fonts, formulas: [[tex, display], …]} on standard
// input, {formulas: [html, …], style} on standard output. A formula that is wrong ends the run.

const { mathjax, fonts, formulas } = JSON.parse(require("fs").readFileSync(0, "utf8"));

async function main() {
  const MathJax = await require(`${mathjax}/node-main.js`).init({
    loader: { paths: { mathjax }, load: ["input/tex", "output/chtml"] },
    tex: { formatError: (_, error) => { throw error; } },
    chtml: { fontURL: fonts },
  });
  const adaptor = MathJax.startup.adaptor;
  const typeset = ([tex, display]) => {
    try {
      const container = MathJax.tex2chtml(tex, { display });
      // The glyphs are for the eye; what a screen reader reads is MathML.
      adaptor.setAttribute(adaptor.firstChild(container), "aria-hidden", "true");
      const mathml = MathJax.tex2mml(tex, { display })
        .replace(/>\s+</g, "><").replace(/ xmlns="[^"]*"/, "");
      const spoken = `<mjx-assistive-mml>${mathml}</mjx-assistive-mml>`;
      return adaptor.outerHTML(container).replace(/(?=<\/mjx-container>$)/, spoken);
    } catch (error) {
      throw new Error(`${error.message} in the formula ${tex}`);
    }
  };
  const html = formulas.map(typeset);
  const style = adaptor.textContent(MathJax.chtmlStylesheet());
  process.stdout.write(JSON.stringify({ formulas: html, style }));
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
