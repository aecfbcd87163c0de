'use strict';
(() => {
  const SIDE = 256;
  const state = { index: 0, zoom: 1, x: 0, y: 0, error: false, panels: [] };
  const byId = (id) => document.getElementById(id);
  const ZOOMS = [0.5, 1, 2, 3, 4, 6, 8, 12, 16];

  function loaded(url) {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error('an image of the page cannot be decoded'));
      image.src = url;
    });
  }
  function pixels(image) {
    const canvas = document.createElement('canvas');
    canvas.width = image.width;
    canvas.height = image.height;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return [canvas, context, context.getImageData(0, 0, image.width, image.height)];
  }
  function errorMap(image, truth) {
    const [canvas, context, shown] = pixels(image);
    const gt = pixels(truth)[2].data;
    for (let i = 0; i < gt.length; i += 4) {
      const d = (Math.abs(shown.data[i] - gt[i]) + Math.abs(shown.data[i + 1] - gt[i + 1]) +
        Math.abs(shown.data[i + 2] - gt[i + 2])) / 3;
      const v = Math.min(1, d / 64) * 3; // black, red, yellow, white
      shown.data[i] = 255 * Math.min(1, v);
      shown.data[i + 1] = 255 * Math.max(0, Math.min(1, v - 1));
      shown.data[i + 2] = 255 * Math.max(0, v - 2);
    }
    context.putImageData(shown, 0, 0);
    return canvas;
  }
  function draw() {
    const item = DATA[state.index];
    const side = SIDE / state.zoom;
    state.x = Math.max(0, Math.min(item.width - side, state.x));
    state.y = Math.max(0, Math.min(item.height - side, state.y));
    for (const panel of state.panels) {
      const context = panel.canvas.getContext('2d', { willReadFrequently: true });
      context.fillStyle = '#eee';
      context.fillRect(0, 0, SIDE, SIDE);
      context.imageSmoothingEnabled = state.zoom < 1;
      const source = state.error && panel.error ? panel.error : panel.image;
      const factor = source.width / item.width; // the LR image is smaller
      context.drawImage(source, state.x * factor, state.y * factor, side * factor, side * factor, 0, 0, SIDE, SIDE);
    }
    byId('zoom').textContent = state.zoom + '×';
    const panels = byId('panels').dataset;
    Object.assign(panels, { zoom: state.zoom, x: Math.round(state.x), y: Math.round(state.y), error: state.error });
    panels.ready = state.panels.length > 0;
  }
  function zoomTo(step, x = SIDE / 2, y = SIDE / 2) {
    const place = ZOOMS.indexOf(state.zoom) + step;
    if (place < 0 || place >= ZOOMS.length) return;
    state.x += x / state.zoom - x / ZOOMS[place];
    state.y += y / state.zoom - y / ZOOMS[place];
    state.zoom = ZOOMS[place];
    draw();
  }
  function handle(canvas) {
    canvas.addEventListener('wheel', (event) => {
      event.preventDefault();
      zoomTo(event.deltaY < 0 ? 1 : -1, event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener('pointermove', (event) => {
      if (!(event.buttons & 1)) return;
      state.x -= event.movementX / state.zoom;
      state.y -= event.movementY / state.zoom;
      draw();
    });
  }
  async function show(index) {
    const item = DATA[index];
    const images = await Promise.all(item.panels.map((panel) => loaded(panel.url)));
    const truth = images[item.panels.findIndex((panel) => panel.truth)];
    state.index = index;
    state.panels = [];
    byId('panels').replaceChildren();
    item.panels.forEach((panel, place) => {
      const figure = document.createElement('figure');
      const canvas = document.createElement('canvas');
      canvas.width = canvas.height = SIDE;
      const caption = document.createElement('figcaption');
      caption.textContent = panel.name + (panel.note ? ': ' + panel.note : '');
      figure.append(canvas, caption);
      byId('panels').append(figure);
      handle(canvas);
      const compared = truth && !panel.truth && images[place].width === truth.width;
      state.panels.push({ canvas, image: images[place], error: compared ? errorMap(images[place], truth) : null });
    });
    draw();
  }
  DATA.forEach((item, index) => byId('image').add(new Option(item.title, index)));
  byId('image').addEventListener('change', (event) => show(Number(event.target.value)));
  byId('in').addEventListener('click', () => zoomTo(1));
  byId('out').addEventListener('click', () => zoomTo(-1));
  byId('error').addEventListener('change', (event) => { state.error = event.target.checked; draw(); });
  state.x = (DATA[0].width - SIDE) / 2;
  state.y = (DATA[0].height - SIDE) / 2;
  show(0);
})();
