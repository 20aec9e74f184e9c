(function () {
  "use strict";
  var all = function (query) { return Array.from(document.querySelectorAll(query)); };
  var gallery = document.getElementById("gallery");
  var search = document.querySelector("input[type=search]");
  var groups = [document.querySelector(".cards"), document.querySelector("#rest tbody")]
    .filter(Boolean)
    .map(function (parent) { return { parent: parent, items: Array.from(parent.children) }; });
  var total = groups.reduce(function (sum, group) { return sum + group.items.length; }, 0);

  var head = "0", verdict = "";

  function filter() {
    var wanted = search.value.trim().toLowerCase(), shown = 0;
    groups.forEach(function (group) {
      group.items.forEach(function (item) {
        var found = verdict ? item.dataset.verdicts.split(" ")[head].split(",") : [""];
        item.hidden = !item.dataset.text.toLowerCase().includes(wanted) || !found.includes(verdict);
        shown += item.hidden ? 0 : 1;
      });
    });
    document.querySelector(".count").textContent =
      wanted || verdict ? shown + " of " + total : total + (total === 1 ? " image" : " images");
    document.querySelector(".empty").hidden = shown > 0 || total === 0;
  }
  function choose(chosen) {
    head = chosen;
    groups.forEach(function (group) {
      group.items.sort(function (a, b) {
        return a.dataset.ranks.split(" ")[head] - b.dataset.ranks.split(" ")[head];
      });
      group.parent.append.apply(group.parent, group.items);
    });
    all("[data-head]").forEach(function (part) { part.hidden = part.dataset.head !== head; });
    all("[data-now]").forEach(function (part) {
      part.classList.toggle("now", part.dataset.now === head);
    });
    filter();
  }

  all("[data-script]").forEach(function (part) { part.hidden = false; });
  search.addEventListener("input", filter);
  all("input[name=head]").forEach(function (input) {
    input.addEventListener("change", function () { choose(input.value); });
    if (input.checked) { choose(input.value); } // a browser may restore the choice on reload
  });
  all("input[name=verdict]").forEach(function (input) {
    var only = function () { verdict = input.value; filter(); };
    input.addEventListener("change", only);
    if (input.checked) { only(); }
  });
  all("input[name=show]").forEach(function (input) {
    var show = function () { gallery.className = input.value; };
    input.addEventListener("change", show);
    if (input.checked) { show(); }
  });
  gallery.addEventListener("click", function (event) {
    var view = event.target.closest(".view");
    if (view) { view.setAttribute("aria-pressed", view.getAttribute("aria-pressed") !== "true"); }
  });
  filter();
})();
