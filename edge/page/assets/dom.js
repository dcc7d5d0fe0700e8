// Elements without markup in text: whatever a source is called, it stays text.

/** Return an element. Attributes: `class`, `on` (listeners by event), `text`; booleans are there or not. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Return an element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/** Put these children in place of those that are there. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set the text of an element if it is another: what did not change is not read out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function filled(element, { on = {}, text, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  if (text !== undefined) element.textContent = text;
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return a button that is busy while what it does is being done, and says what became of it. */
export function button(label, act, { kind = "", disabled = false } = {}) {
  const element = h("button", { type: "button", class: kind, disabled, text: label });
  element.addEventListener("click", async () => {
    element.disabled = true;
    try {
      await act(element);
    } finally {
      element.disabled = false;
    }
  });
  return element;
}
