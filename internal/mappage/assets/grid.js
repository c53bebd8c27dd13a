// A metric grid as the map's background, where there is none.

const metresPerDegree = 111_195;

// gridLayer draws lines at a round distance in metres, from the equator and along
// the parallel through the middle of the map, with the distance in a corner.
export const gridLayer = (L) => new (L.Layer.extend({
  onAdd(map) {
    this.canvas = L.DomUtil.create("canvas", "leaflet-zoom-hide");
    map.getPane("tilePane").append(this.canvas);
    map.on("moveend zoomend resize", this.draw, this);
    this.map = map;
    this.draw();
  },
  onRemove(map) {
    this.canvas.remove();
    map.off("moveend zoomend resize", this.draw, this);
  },
  draw() {
    const size = this.map.getSize();
    const ratio = devicePixelRatio;
    L.DomUtil.setPosition(this.canvas, this.map.containerPointToLayerPoint([0, 0]));
    Object.assign(this.canvas, { width: size.x * ratio, height: size.y * ratio });
    this.canvas.style.width = `${size.x}px`;
    this.canvas.style.height = `${size.y}px`;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    context.strokeStyle = style.getPropertyValue("--grid");
    context.fillStyle = style.getPropertyValue("--grid-text");
    context.font = "12px sans-serif";
    const bounds = this.map.getBounds();
    const step = roundStep((bounds.getNorth() - bounds.getSouth()) * metresPerDegree / 6);
    const narrower = Math.max(0.05, Math.cos(this.map.getCenter().lat * Math.PI / 180));
    const each = (from, to, degrees, line) => {
      for (let i = Math.ceil(from / degrees); i * degrees < to && i < Math.ceil(from / degrees) + 200; i++) line(i * degrees);
    };
    context.beginPath();
    each(bounds.getSouth(), bounds.getNorth(), step / metresPerDegree, (lat) => {
      const { y } = this.map.latLngToContainerPoint([lat, 0]);
      context.moveTo(0, y);
      context.lineTo(size.x, y);
    });
    each(bounds.getWest(), bounds.getEast(), step / metresPerDegree / narrower, (lon) => {
      const { x } = this.map.latLngToContainerPoint([0, lon]);
      context.moveTo(x, 0);
      context.lineTo(x, size.y);
    });
    context.stroke();
    const text = step >= 1000 ? `grid ${step / 1000} km` : `grid ${step} m`;
    context.fillText(text, 12, size.y - 40);
  },
}))();

function roundStep(metres) {
  const power = 10 ** Math.floor(Math.log10(metres));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= metres);
}
