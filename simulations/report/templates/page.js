"use strict";
// The only script: shows every line's value of the round under the pointer (or the arrow keys).
// Without it the page says the same through titles on the points and the tables below the charts.
(() => {
  const tip = document.getElementById("tip");
  const svg = "http://www.w3.org/2000/svg";
  const element = (name, css, text) => {
    const made = document.createElement(name);
    if (css) made.className = css;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  for (const plot of document.querySelectorAll(".plot")) {
    const data = JSON.parse(plot.dataset.plot);
    const field = plot.querySelector(".field");
    for (const title of field.querySelectorAll("title")) title.remove();
    const cross = document.createElementNS(svg, "line");
    cross.setAttribute("class", "cross-hair");
    cross.setAttribute("y1", "14");
    cross.setAttribute("y2", "222");
    cross.setAttribute("visibility", "hidden");
    field.insertBefore(cross, field.querySelector(".lines"));
    let shown = -1;
    const hide = () => {
      shown = -1;
      tip.hidden = true;
      cross.setAttribute("visibility", "hidden");
    };
    const show = (index) => {
      const box = field.getBoundingClientRect();
      if (index !== shown) {
        shown = index;
        cross.setAttribute("x1", data.x[index] + "%");
        cross.setAttribute("x2", data.x[index] + "%");
        cross.setAttribute("visibility", "visible");
        tip.replaceChildren(element("b", "", "round " + index));
        const rows = data.rows.filter((row) => row[2][index] !== null);
        rows.sort((a, b) => Number(b[2][index]) - Number(a[2][index]));
        for (const [label, css, values] of rows) {
          const row = element("span", "row");
          row.append(element("i", "key " + css), element("span", "", label), element("span", "num", values[index]));
          tip.append(row);
        }
        if (data.marks[index]) tip.append(element("span", "why", "✕ " + data.marks[index]));
        tip.hidden = false;
      }
      const at = box.left + (box.width * data.x[index]) / 100;
      const wide = tip.offsetWidth;
      const right = at + 14 + wide < document.documentElement.clientWidth;
      const left = right ? at + 14 : Math.max(4, at - 14 - wide);
      tip.style.left = left + window.scrollX + "px";
      tip.style.top = box.top + window.scrollY + 8 + "px";
    };
    const nearest = (clientX) => {
      const box = field.getBoundingClientRect();
      const x = (100 * (clientX - box.left)) / box.width;
      let best = 0;
      for (let i = 1; i < data.x.length; i++) {
        if (Math.abs(data.x[i] - x) < Math.abs(data.x[best] - x)) best = i;
      }
      return best;
    };
    plot.tabIndex = 0;
    field.addEventListener("pointermove", (event) => show(nearest(event.clientX)));
    field.addEventListener("pointerdown", (event) => show(nearest(event.clientX)));
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("blur", hide);
    plot.addEventListener("keydown", (event) => {
      const last = data.x.length - 1;
      const to = { ArrowLeft: shown < 0 ? last : shown - 1, ArrowRight: shown + 1, Home: 0, End: last }[event.key];
      if (event.key === "Escape") hide();
      if (to === undefined) return;
      event.preventDefault();
      show(Math.min(last, Math.max(0, to)));
    });
  }
  window.addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("section:not(#facts) details")) part.open = true;
  });
})();
