import type { Decoders } from '../../data/files.ts';
import { lazily } from './library.ts';

const CONVERT = 'convert it, for example with ffmpeg -i IN -c:a pcm_s16le OUT.wav';
const MAX_RATE = 768_000;

interface Format {
  readonly audioFormat: number;
  readonly numChannels: number;
  readonly sampleRate: number;
  readonly bitsPerSample: number;
}

/** Largest magnitude + 1 of integer samples, 1 of floats, by the library's name of the format; bytes are unsigned around 128. */
const SCALES: Readonly<Record<string, number>> = { 8: 2 ** 7, 16: 2 ** 15, 24: 2 ** 23, 32: 2 ** 31, '32f': 1, 64: 1 };

export const decodeWav: Decoders['wav'] = async (bytes) => {
  const { WaveFile } = await loadWaveFile();
  const wave = (() => {
    try {
      return new WaveFile(bytes);
    } catch {
      return undefined;
    }
  })();
  if (wave === undefined) return { unreadable: `expected a WAV file, found another kind of file or a damaged one; ${CONVERT}` };
  const { numChannels, sampleRate } = wave.fmt as Format;
  const { chunkSize, samples } = wave.data as { readonly chunkSize: number; readonly samples: Uint8Array };
  const scale = SCALES[wave.bitDepth];
  if (scale === undefined) return { unreadable: `expected PCM of 8, 16, 24 or 32 bits or float samples, found another encoding; ${CONVERT}` };
  if (numChannels < 1 || sampleRate < 1 || sampleRate > MAX_RATE) return { unreadable: `it says it has ${numChannels} channels at ${sampleRate} samples a second; ${CONVERT}` };
  if (samples.length < chunkSize) return { unreadable: `it is cut off: expected ${chunkSize} bytes of samples, found ${samples.length}` };
  const found = wave.getSamples(false, Float64Array) as Float64Array | readonly Float64Array[];
  const middle = wave.bitDepth === '8' ? 128 : 0;
  const channels = found instanceof Float64Array ? [found] : found;
  return { rate: sampleRate, channels: channels.map((channel) => channel.map((sample) => (sample - middle) / scale)) };
};

const loadWaveFile = lazily('wavefile', async () => (await import('wavefile')).default);
