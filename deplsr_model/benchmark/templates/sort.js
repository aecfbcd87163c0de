'use strict';
function valueOf(row, place) {
  const cell = row.cells[place];
  const text = 'value' in cell.dataset ? cell.dataset.value : cell.textContent;
  if (text === 'inf') return Infinity;
  return text !== '' && isFinite(text) ? Number(text) : text;
}
function compareValues(a, b) {
  if (typeof a === 'number' && typeof b === 'number') return a === b ? 0 : a - b;
  if (typeof a !== typeof b) return typeof a === 'number' ? -1 : 1;
  return a.localeCompare(b);
}
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => head.addEventListener('click', () => {
    const up = head.getAttribute('aria-sort') === 'descending';
    heads.forEach((one) => one.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => (up ? 1 : -1) * compareValues(valueOf(a, place), valueOf(b, place)));
    table.tBodies[0].append(...rows);
  }));
}
