export interface HogSize {
  readonly height: number;
  readonly width: number;
  readonly rows: number;
  readonly columns: number;
  readonly orientations: number;
  readonly turn: 'half' | 'full';
}

/**
 * Histograms of oriented gradients (Dalal, Triggs 2005): every pixel votes with its gradient's magnitude for the two nearest directions and the
 * up to four nearest of rows x columns cells, linearly shared. Gradients are central differences, with the edge pixels repeated beyond the edge.
 * Output [rows, columns, orientations]; no block normalisation (the front-end's `unitLength` brings the whole record to one length).
 */
export function hogOf({ height, width, rows, columns, orientations, turn }: HogSize): (plane: Float64Array, histograms: Float64Array) => void {
  const down = nearestTwo(height, rows);
  const across = nearestTwo(width, columns);
  const circle = turn === 'half' ? Math.PI : 2 * Math.PI;
  return (plane, histograms) => {
    histograms.fill(0);
    for (let i = 0; i < height; i += 1) {
      const [above, below] = [Math.max(0, i - 1) * width, Math.min(height - 1, i + 1) * width];
      for (let j = 0; j < width; j += 1) {
        const dy = plane[below + j]! - plane[above + j]!;
        const dx = plane[i * width + Math.min(width - 1, j + 1)]! - plane[i * width + Math.max(0, j - 1)]!;
        const magnitude = Math.hypot(dx, dy);
        if (magnitude === 0) continue;
        // Directions are a circle: bin b stands for the angle b circle / orientations, the last is next to the first.
        const angle = Math.atan2(dy, dx);
        const place = ((angle / circle - Math.floor(angle / circle)) * orientations) % orientations;
        const bin = Math.floor(place);
        const next = (bin + 1) % orientations;
        const toNext = place - bin;
        for (let r = 0; r < 2; r += 1) {
          for (let c = 0; c < 2; c += 1) {
            const vote = magnitude * down.weight[2 * i + r]! * across.weight[2 * j + c]!;
            const cell = (down.cell[2 * i + r]! * columns + across.cell[2 * j + c]!) * orientations;
            histograms[cell + bin]! += vote * (1 - toNext);
            histograms[cell + next]! += vote * toNext;
          }
        }
      }
    }
  };
}

/** For each pixel of a line, the two cells whose centres are nearest and its share in each; beyond the outermost centre, that cell alone. */
function nearestTwo(pixels: number, cells: number): { readonly cell: Int32Array; readonly weight: Float64Array } {
  const cell = new Int32Array(2 * pixels);
  const weight = new Float64Array(2 * pixels);
  for (let i = 0; i < pixels; i += 1) {
    const place = Math.min(cells - 1, Math.max(0, ((i + 0.5) * cells) / pixels - 0.5));
    const lower = Math.floor(place);
    cell.set([lower, Math.min(cells - 1, lower + 1)], 2 * i);
    weight.set([1 - (place - lower), place - lower], 2 * i);
  }
  return { cell, weight };
}
