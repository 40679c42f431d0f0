"use strict";
// Forms are answered in place, so that a page keeps its scroll and a screen reader hears what came.
// Without this script they are ordinary forms.
const said = document.getElementById("said");

function chosen() {
  for (const field of document.querySelectorAll("[data-for]")) {
    const choice = document.getElementById(field.dataset.for);
    field.classList.toggle("off", choice !== null && !choice.checked);
  }
}

function choose(field) {
  const choice = document.getElementById(field.dataset.for);
  if (choice !== null && !choice.checked) {
    choice.checked = true;
    chosen();
  }
}

document.addEventListener("change", (event) => {
  if (event.target.type === "radio") chosen();
});

document.addEventListener("input", (event) => {
  const field = event.target.closest("[data-for]");
  if (field !== null) choose(field);
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  event.preventDefault();
  const focused = document.activeElement ? document.activeElement.id : "";
  const main = document.getElementById("main");
  if (main.getAttribute("aria-busy") === "true") return;
  main.setAttribute("aria-busy", "true");
  try {
    const sent = new URLSearchParams(new FormData(form, event.submitter));
    const answer = await fetch(form.action, { method: "POST", body: sent });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = page.getElementById("main");
    if (found === null) throw new Error("no page");
    main.replaceWith(found);
    chosen();
    said.textContent = "";
    requestAnimationFrame(() => { said.textContent = found.dataset.said; });
    const why = document.getElementById("why");
    const again = why || document.getElementById(focused) || document.getElementById("find");
    (again || found).focus({ preventScroll: why === null });
  } catch {
    main.removeAttribute("aria-busy");
    said.textContent = "No answer came. Is the program that shows this page still running?";
    said.classList.remove("sr");
  }
});

chosen();
