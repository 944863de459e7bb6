// Elements. Text only ever becomes text: there is no way from a string to markup here.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element: properties, `on…` listeners, `data-`/`aria-`/other attributes; children are nodes or text. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name in element && !name.includes("-") && name !== "list" && name !== "form") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replaces an element's text if it is another: an unchanged page costs no layout. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets or takes away an attribute if that changes anything. */
export function setAttribute(element, name, value) {
  if (value === null || value === false || value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

const PATHS = {
  overview: "M3 13h5l2-6 4 11 2.5-5H21",
  functions: "M4 6h16M4 12h16M4 18h10",
  workers: "M12 8.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7M12 3v3M12 18v3M3 12h3M18 12h3M5.6 5.6l2.2 2.2M16.2 16.2l2.2 2.2M18.4 5.6l-2.2 2.2M7.8 16.2l-2.2 2.2",
  jobs: "M4 5h16v5H4zM4 14h16v5H4zM8 7.5h.01M8 16.5h.01",
  submit: "M12 4v16M4 12h16",
  servers: "M5 4h14v6H5zM5 14h14v6H5zM8.5 7h.01M8.5 17h.01M12 10v4",
  warning: "M12 4 2.8 19.5h18.4zM12 10v4.5M12 17h.01",
  moon: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
  close: "M6 6l12 12M18 6 6 18",
  back: "M15 5l-7 7 7 7",
  refresh: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
};

/** One of the line icons; always beside a text or a label, so hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true", focusable: "false" }))
    svg.setAttribute(key, value);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

let serial = 0;

/** A labelled field: the label stands above it and names it. */
export function field(label, control, hint) {
  serial += 1;
  control.id ||= `field-${serial}`;
  const parts = [h("label", { htmlFor: control.id }, label), control];
  if (hint) {
    control.setAttribute("aria-describedby", `${control.id}-hint`);
    parts.push(h("small", { id: `${control.id}-hint`, class: "hint" }, hint));
  }
  return h("div", { class: "field" }, parts);
}

export function select(options, value, properties = {}) {
  const element = h("select", properties, options.map(([key, text]) => h("option", { value: key }, text)));
  element.value = value;
  return element;
}

/** A row of buttons of which one is chosen. */
export function choice(label, options, value, chosen) {
  const buttons = options.map(([key, text]) =>
    h("button", { type: "button", "aria-pressed": String(key === value), onclick: () => {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button === buttons[options.findIndex(([k]) => k === key)]));
      chosen(key);
    } }, text));
  return h("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}

/** Calls back with a delay, and only for the last of quick calls. */
export function debounce(milliseconds, callback) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => callback(...values), milliseconds);
  };
}
