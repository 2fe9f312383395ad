"use strict";
(() => {
  const form = document.getElementById("sheet");
  const done = document.getElementById("done");
  const columns = form.dataset.columns.split(",");
  const sets = Array.from(form.querySelectorAll("fieldset"));
  const fields = (set) => Array.from(set.querySelectorAll("select, input"));
  const key = `echat-review-${sets.map((set) => set.dataset.clip).join("")}`;
  const store = (name, value) => { try { return value === undefined ? localStorage.getItem(name) : localStorage.setItem(name, value); } catch { return null; } };
  const values = (set) => Object.fromEntries(fields(set).map((field) => [field.name, field.value]));
  const count = () => {
    const whole = sets.filter((set) => Array.from(set.querySelectorAll("select")).every((select) => select.value)).length;
    done.textContent = `${whole} of ${sets.length} answered`;
  };
  const earlier = JSON.parse(store(key) || "{}");
  for (const set of sets) for (const field of fields(set)) field.value = (earlier[set.dataset.clip] || {})[field.name] || "";
  form.addEventListener("input", () => {
    store(key, JSON.stringify(Object.fromEntries(sets.map((set) => [set.dataset.clip, values(set)]))));
    count();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("save").addEventListener("click", () => {
    const quote = (value) => /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
    const rows = sets.map((set) => {
      const all = { number: set.dataset.number, clip: set.dataset.clip, ...values(set) };
      return columns.map((name) => quote(all[name])).join(",");
    });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${columns.join(",")}\n${rows.join("\n")}\n`], { type: "text/csv" }));
    link.download = `rater-${form.dataset.rater}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  count();
})();
