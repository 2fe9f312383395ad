"use strict";
(() => {
  const form = document.getElementById("filters");
  const cards = Array.from(document.querySelectorAll("#cards .card"));
  const text = new Map(cards.map((card) => [card, card.textContent.toLowerCase() + " " + card.getAttribute("aria-label")]));
  const shown = document.getElementById("shown");
  const apply = () => {
    const words = form.elements.q.value.toLowerCase().split(/\s+/).filter(Boolean);
    const picked = Array.from(form.querySelectorAll("select"), (select) => [select.name, select.value]).filter(([, value]) => value);
    let count = 0;
    for (const card of cards) {
      const fits = picked.every(([name, value]) => card.dataset[name] === value) && words.every((word) => text.get(card).includes(word));
      card.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${cards.length} shown`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  apply();
})();
