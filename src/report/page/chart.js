
// The page is complete without this script: it shows below a chart what the pointer or the arrow keys are on.
for (const figure of document.querySelectorAll(".chart")) {
  const readout = figure.querySelector(".readout");
  const usual = readout.textContent;
  for (const drawing of figure.querySelectorAll(":scope > svg")) {
    const targets = [...drawing.querySelectorAll(".target")];
    let at = Math.max(0, targets.findIndex((target) => target.classList.contains("first")));
    const hide = () => {
      targets[at]?.classList.remove("shown");
      readout.textContent = usual;
    };
    const show = (index) => {
      hide();
      at = index;
      targets[at].classList.add("shown");
      readout.textContent = targets[at].querySelector("title").textContent;
    };
    targets.forEach((target, index) => target.addEventListener("pointerenter", () => show(index)));
    drawing.addEventListener("pointerleave", hide);
    drawing.addEventListener("focus", () => targets.length && show(at));
    drawing.addEventListener("blur", hide);
    drawing.addEventListener("keydown", (event) => {
      const keys = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: targets.length - 1 };
      if (targets[keys[event.key]]) {
        show(keys[event.key]);
        event.preventDefault();
      }
    });
  }
}
