// Elements from text. Names come from traffic and may be hostile, so text is
// only ever set as text; nothing here or elsewhere makes markup from strings.

/** An element with these attributes and children; strings become text. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (name === "data") {
      Object.assign(node.dataset, value);
    } else if (value === true) {
      node.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value);
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Sets the text of a node, and touches it only where it changes. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Makes `parent` show one child for each item, and keeps those it has: focus
 * and open details survive. `make` builds one, `update` fills it.
 */
export function keyed(parent, items, keyOf, make, update) {
  const had = parent.keyed ?? new Map();
  const now = new Map();
  let before = null;
  for (const item of items) {
    const key = keyOf(item);
    const view = had.get(key) ?? make(item);
    had.delete(key);
    now.set(key, view);
    update(view, item);
    const wanted = before ? before.nextSibling : parent.firstChild;
    if (wanted !== view.node) parent.insertBefore(view.node, wanted);
    before = view.node;
  }
  for (const view of had.values()) {
    view.gone?.();
    view.node.remove();
  }
  parent.keyed = now;
}
