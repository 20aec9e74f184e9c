// Questions to a person.
const Ask = {
  // Resolves to the kind of a defect, "" for none, and never where the person presses Escape;
  // offers those given before.
  kind: (offered) => new Promise((done) => {
    const dialog = document.getElementById("kind"), input = dialog.querySelector("input");
    input.value = "";
    dialog.querySelector(".given").replaceChildren(...offered.map((kind) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = kind;
      button.addEventListener("click", () => { input.value = kind; dialog.close("ok"); });
      return button;
    }));
    dialog.returnValue = "";
    dialog.querySelector("form").onsubmit = (event) => { event.preventDefault(); dialog.close("ok"); };
    // the event of an earlier question may come while this one is open
    dialog.onclose = () => { if (!dialog.open && dialog.returnValue === "ok") { done(input.value.trim()); } };
    dialog.showModal();
    input.focus();
  }),

  // Copy a text; where the browser forbids that, select it for the reader to copy.
  copy: async (part, button) => {
    try {
      await navigator.clipboard.writeText(part.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    } catch {
      getSelection().selectAllChildren(part);
    }
  },
};
