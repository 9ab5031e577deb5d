/* Figures that answer their readers: frames behind sliders, and points to drag. */
(() => {
  const REST = 500; // milliseconds after which a reader has come to rest
  const FRAME = 600; // milliseconds a frame stays while the figure plays
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  /** A function that writes what a screen reader is to speak, once the reader has come to rest. */
  const speaker = (region) => {
    let timer;
    return (text) => {
      clearTimeout(timer);
      timer = setTimeout(() => { region.textContent = text; }, REST);
    };
  };

  /** Let a button run a slider to its end. Whoever takes a slider of the figure stops it. */
  const player = (root, button, slider, show, rest) => {
    let timer = null;
    const name = (word) => {
      button.textContent = word;
      button.setAttribute("aria-label", `${word} ${button.dataset.label}`);
    };
    const stop = () => {
      if (timer === null) return;
      clearInterval(timer);
      timer = null;
      name("Play");
      rest();
    };
    const to = (value) => {
      slider.value = value;
      show();
    };
    const start = () => {
      if (slider.value === slider.max) to(slider.min);
      name("Pause");
      timer = setInterval(() => {
        if (!root.isConnected) return stop();
        to(Number(slider.value) + 1);
        if (slider.value === slider.max) stop();
      }, calm.matches ? 3 * FRAME : FRAME);
    };
    button.addEventListener("click", () => (timer === null ? start() : stop()));
    for (const taken of ["pointerdown", "keydown", "input"])
      root.addEventListener(taken, (event) => { if (event.target.matches("input")) stop(); });
  };

  /** Take away the marks around what another machine may measure otherwise. */
  const unmarked = (text) => text.replace(/[⟨⟩]/g, "");

  const showFrames = (root, { texts, alts, spoken, frames }) => {
    const image = root.querySelector("img");
    const sliders = [...root.querySelectorAll("input")];
    const outputs = root.querySelectorAll("output");
    const speak = speaker(root.querySelector(".explore-spoken"));
    const show = () => {
      let frame = 0;
      sliders.forEach((slider, i) => {
        const text = texts[i][slider.value];
        slider.setAttribute("aria-valuetext", text);
        outputs[i].textContent = text;
        frame = frame * texts[i].length + Number(slider.value);
      });
      image.src = frames[frame];
      image.alt = unmarked(alts[frame]);
    };
    const rest = () => { if (spoken) speak(image.alt); };
    const button = root.querySelector(".explore-play");
    if (button) {
      const slider = sliders.find((slider) => slider.name === button.dataset.parameter);
      player(root, button, slider, show, rest);
    }
    root.addEventListener("input", () => { show(); rest(); });
    image.alt = unmarked(image.alt);
    root.querySelector(".explore-controls").hidden = false;
  };

  /* Points are whole hundredths, so that the signs below are exact; y points up in all of this, and
     down in what is drawn. */
  const cross = (a, b) => a[0] * b[1] - a[1] * b[0];
  const isRay = (a) => a[0] !== 0 || a[1] !== 0;
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1];
  const along = (a, length) => a.map((x) => (x * length) / Math.hypot(...a));
  const plus = (a, b) => [a[0] + b[0], a[1] + b[1]];
  const minus = (a, b) => [a[0] - b[0], a[1] - b[1]];
  const at = ([x, y]) => `${Math.floor(x + 0.5)} ${Math.floor(-y + 0.5)}`;
  const path = (...points) => `M${points.map(at).join("L")}`;
  const FAR = 4000; // well outside every frame

  /** The neuron that answers 1 to both samples of a class, and what the others say to it. */
  const separate = ([p, q], others) => {
    const area = cross(p, q);
    const normal = [Math.sign(area) * (q[1] - p[1]), Math.sign(area) * (p[0] - q[0])];
    const outputs = others.map((x) => dot(x, normal));
    const feasible = area !== 0 && outputs.every((output) => output <= 0);
    if (feasible) return { feasible, normal };
    if (area === 0) return { feasible, normal, meeting: [0, 0] };
    // Of the rays that hit the line, the one that hits it nearest to where the neuron points.
    const slant = others.map((x, i) => outputs[i] / (Math.hypot(...x) || 1));
    const nearest = slant.indexOf(Math.max(...slant));
    const reach = Math.abs(area) / outputs[nearest];
    return { feasible, normal, meeting: others[nearest].map((x) => x * reach) };
  };

  /** The cone of some points: each pair's, all turning one way so that none cuts another out. */
  const conePath = (points) => {
    const rays = points.filter(isRay).map((x) => along(x, FAR));
    const parts = [];
    rays.forEach((a, i) => {
      for (const b of rays.slice(i + 1)) {
        const [first, second] = cross(a, b) < 0 ? [b, a] : [a, b];
        const middle = plus(first, second);
        const far = Math.hypot(...middle) < 1 ? [] : [along(middle, FAR)];
        parts.push(`${path([0, 0], first, ...far, second)}Z`);
      }
    });
    return parts.join("");
  };

  const drawCone = (root, points, { size, words }) => {
    const set = (name, attributes) => {
      const element = root.querySelector(`.explore-${name}`);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    };
    const [p, q, ...others] = points;
    const { feasible, normal, meeting } = separate([p, q], others);
    const direction = along(minus(q, p), FAR);
    const rays = others.filter(isRay);
    set("line", { d: path(minus(p, direction), plus(q, direction)) });
    set("cone", { d: conePath(others) });
    set("rays", { d: rays.map((x) => path([0, 0], along(x, FAR))).join("") });
    const seen = !feasible && Math.abs(meeting[0]) <= size[0] && Math.abs(meeting[1]) <= size[1];
    set("meeting", { display: seen ? "inline" : "none" });
    if (seen) set("meeting", { transform: `translate(${at(meeting)})` });
    for (const name of ["half", "beta", "name"])
      set(name, { display: feasible ? "inline" : "none" });
    if (feasible) {
      const tip = along(normal, 100);
      const side = [-normal[1], normal[0]];
      const [up, across] = [along(normal, FAR), along(side, FAR)];
      const back = minus([0, 0], across);
      set("half", { d: `${path(across, plus(across, up), plus(back, up), back)}Z` });
      const barb = (sign) => plus(along(normal, 84), along(side, 9 * sign));
      set("beta", { d: path([0, 0], tip) + path(barb(-1), tip, barb(1)) });
      set("name", { transform: `translate(${at(along(normal, 122))})` });
    }
    const text = feasible ? words.feasible : seen ? words.meets : words.beyond;
    const answer = root.querySelector(".explore-answer");
    if (answer.textContent !== text) answer.textContent = text;
    return feasible;
  };

  /** Let points be dragged, or moved with the arrow keys; `draw` shows what follows. */
  const draggable = (root, data, draw) => {
    const svg = root.querySelector("svg");
    const elements = [...svg.querySelectorAll(".explore-point")];
    let points = data.points;
    const clamp = (x, bound) => Math.max(-bound, Math.min(bound, Math.round(x)));
    /** Put all points somewhere; the two of the class never fall together. */
    const place = (wanted) => {
      const next = wanted.map(([x, y]) => [clamp(x, data.size[0]), clamp(y, data.size[1])]);
      if (next[0][0] === next[1][0] && next[0][1] === next[1][1]) return null;
      points = next;
      points.forEach((point, i) => {
        elements[i].setAttribute("transform", `translate(${at(point)})`);
        elements[i].setAttribute("aria-valuenow", point[0]);
        const [x, y] = point.map((value) => (value / 100).toFixed(2));
        elements[i].setAttribute("aria-valuetext", `x ${x}, y ${y}`);
      });
      return draw(root, points, data);
    };
    const move = (i, point) => place(points.map((old, j) => (j === i ? point : old)));
    const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const under = (event) => {
      const { x, y } = new DOMPoint(event.clientX, event.clientY)
        .matrixTransform(svg.getScreenCTM().inverse());
      return [x, -y];
    };
    svg.setAttribute("role", "group");
    elements.forEach((element, i) => {
      let grip = null; // from the pointer to the point it holds
      element.setAttribute("tabindex", "0");
      element.setAttribute("role", "slider");
      element.setAttribute("aria-roledescription", "movable point");
      element.setAttribute("aria-valuemin", -data.size[0]);
      element.setAttribute("aria-valuemax", data.size[0]);
      element.addEventListener("keydown", (event) => {
        const step = STEPS[event.key];
        if (!step) return;
        event.preventDefault();
        move(i, plus(points[i], along(step, event.shiftKey ? 25 : 5)));
      });
      element.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        element.focus();
        element.setPointerCapture(event.pointerId);
        grip = minus(points[i], under(event));
      });
      element.addEventListener("pointermove", (event) => {
        if (grip) move(i, plus(under(event), grip));
      });
      for (const end of ["pointerup", "pointercancel"])
        element.addEventListener(end, () => { grip = null; });
    });
    const controls = root.querySelector(".explore-controls");
    controls.querySelector("button").addEventListener("click", () => place(data.points));
    controls.hidden = false;
    place(points);
    root.explore = { place };
  };

  // Jupyter and Colab insert outputs in their own ways, where document.currentScript is null or
  // elsewhere; so the script looks for every figure that does not answer yet.
  const kinds = {
    frames: showFrames,
    cone: (root, data) => draggable(root, data, drawCone),
  };
  for (const root of document.querySelectorAll("[data-explore]")) {
    const data = root.querySelector('script[type="application/json"]');
    if (root.exploreReady || !data) continue;
    root.exploreReady = true;
    kinds[root.dataset.explore](root, JSON.parse(data.textContent));
  }
})();
