// A click on a column's name sorts the table: numbers as numbers, empty cells always last.
for (const button of document.querySelectorAll('th button')) button.onclick = () => {
  const head = button.parentElement, body = head.closest('table').tBodies[0], column = head.cellIndex;
  const direction = head.ariaSort === 'ascending' ? -1 : 1;
  for (const other of head.parentElement.children) other.ariaSort = 'none';
  head.ariaSort = direction > 0 ? 'ascending' : 'descending';
  const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b), direction)));
};

function compare(a, b, direction) {
  if (a === '' || b === '') return (a === '') - (b === '');
  if (isNaN(a) || isNaN(b)) return direction * String(a).localeCompare(b, undefined, { numeric: true });
  return direction * (a - b);
}

// A gallery can be sorted and filtered by the values that its pictures carry.
for (const controls of document.querySelectorAll('.controls')) {
  const gallery = controls.nextElementSibling, order = [...gallery.children];
  const values = new Map(order.map(figure => [figure, JSON.parse(figure.dataset.values)]));
  const [sort, filter] = ['sort', 'filter'].map(name => controls.querySelector(`select[name=${name}]`));
  controls.onchange = () => {
    const by = sort ? sort.value : '', wanted = filter ? filter.value : '';
    const key = figure => values.get(figure)[by] ?? '';
    const sorted = by ? [...order].sort((a, b) => compare(key(a), key(b), -1)) : order;
    gallery.append(...sorted);
    for (const figure of order) figure.hidden = wanted !== '' && String(values.get(figure)[filter.dataset.key]) !== wanted;
  };
}

// A toggle shows a photo without its marks, and with them again.
document.addEventListener('click', event => {
  const button = event.target.closest('.toggle');
  if (!button) return;
  const unmarked = button.closest('figure').classList.toggle('unmarked');
  button.setAttribute('aria-pressed', unmarked);
});

// A click on a picture enlarges it; the arrow keys go on to the next, Escape closes.
const dialog = document.querySelector('dialog'), shown = dialog.querySelector('.shown');
let enlarged = null;

function enlarge(figure) {
  enlarged = figure;
  const copy = figure.cloneNode(true), button = copy.querySelector('.enlarge');
  button.replaceWith(...button.children);
  shown.replaceChildren(copy);
  if (!dialog.open) dialog.showModal();
}

function goOn(step) {
  const figures = [...document.querySelectorAll('main figure.picture')].filter(figure => figure.offsetParent);
  enlarge(figures[(figures.indexOf(enlarged) + step + figures.length) % figures.length]);
}

for (const button of document.querySelectorAll('.enlarge')) button.onclick = () => enlarge(button.closest('figure'));
for (const button of dialog.querySelectorAll('nav button')) {
  button.onclick = () => button.value === 'close' ? dialog.close() : goOn(Number(button.value));
}
dialog.onclose = () => { if (enlarged) enlarged.querySelector('.enlarge').focus(); };
dialog.onclick = event => { if (event.target.tagName === 'IMG') dialog.close(); };
dialog.onkeydown = event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) goOn(step);
};

// On paper everything is open.
window.onbeforeprint = () => { for (const block of document.querySelectorAll('details')) block.open = true; };
