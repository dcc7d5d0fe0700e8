// The last minute of sound: time to the right, low notes below, loud is bright. Columns come from the device.

const MINUTE_SECONDS = 60;
const BANDS = 128;
const WIDTH = 960;
const HEIGHT = BANDS * 2;
const SPAN_DB = 55;

// Magma, by Stefan van der Walt and Nathaniel Smith (CC0), at nine places: equal steps look equal.
const MAGMA = [
  [0, 0, 4], [29, 17, 71], [81, 18, 124], [131, 38, 129], [183, 55, 121], [231, 82, 99], [252, 137, 97],
  [254, 196, 136], [252, 253, 191],
];

const COLOURS = Array.from({ length: 256 }, (_, i) => {
  const place = (i / 255) * (MAGMA.length - 1);
  const low = Math.min(Math.floor(place), MAGMA.length - 2);
  return MAGMA[low].map((value, channel) => value + (place - low) * (MAGMA[low + 1][channel] - value));
});

/** Return where a frequency stands in the picture, 0 at the bottom to 1: the Slaney mel scale up to 8 kHz. */
export function height(hz) {
  return mel(hz) / mel(8000);
}

function mel(hz) {
  return hz < 1000 ? (hz * 3) / 200 : 15 + (27 * Math.log(hz / 1000)) / Math.log(6.4);
}

export class Spectrogram {
  #context;
  #loudest = null;
  #drawnTo = 0;

  constructor(canvas) {
    canvas.width = WIDTH;
    canvas.height = HEIGHT;
    this.#context = canvas.getContext("2d");
    this.clear();
  }

  clear() {
    this.#context.clearRect(0, 0, WIDTH, HEIGHT);
    this.#loudest = null;
  }

  /** Take a column: bytes of half a dB in base64, the lowest band first, of so many seconds. */
  add(levels, seconds) {
    const bytes = Uint8Array.from(atob(levels), (letter) => letter.charCodeAt(0));
    const loudest = Math.max(...bytes);
    // The scale follows slowly, so that a bang does not make everything else dark.
    this.#loudest = this.#loudest === null ? loudest : Math.max(this.#loudest - 0.02, this.#loudest + 0.1 * (loudest - this.#loudest));
    const exact = this.#drawnTo + (seconds / MINUTE_SECONDS) * WIDTH;
    const width = Math.round(exact);
    this.#drawnTo = exact - width;
    if (width) this.#draw(bytes, width);
  }

  #draw(bytes, width) {
    const context = this.#context;
    context.globalCompositeOperation = "copy"; // what was not heard stays empty
    context.drawImage(context.canvas, -width, 0);
    context.globalCompositeOperation = "source-over";
    const low = this.#loudest - 2 * SPAN_DB;
    for (let band = 0; band < BANDS; band++) {
      const share = Math.min(Math.max((bytes[band] - low) / (2 * SPAN_DB), 0), 1);
      const [red, green, blue] = COLOURS[Math.round(share * 255)];
      context.fillStyle = `rgb(${red} ${green} ${blue})`;
      context.fillRect(WIDTH - width, HEIGHT - 2 * (band + 1), width, 2);
    }
  }
}
