import wavefile from 'wavefile';
import { describe, expect, it } from 'vitest';
import { decodeWav } from '../../shared/platform/decoders/wav.ts';

const { WaveFile } = wavefile;
function write(bits: string, samples: readonly number[] | readonly number[][], rate = 22_050): Uint8Array {
  const wave = new WaveFile();
  wave.fromScratch(Array.isArray(samples[0]) ? samples.length : 1, rate, bits, samples as number[]);
  return wave.toBuffer();
}

describe('a WAV file', () => {
  it.each<[string, number[], number[]]>([
    ['8', [0, 64, 128, 255], [-1, -0.5, 0, 127 / 128]],
    ['16', [-32_768, 0, 16_384, 32_767], [-1, 0, 0.5, 32_767 / 32_768]],
    ['24', [-(2 ** 23), -1, 2 ** 21, 2 ** 23 - 1], [-1, -(2 ** -23), 0.25, 1 - 2 ** -23]],
    ['32', [-(2 ** 31), 1, 2 ** 30, 2 ** 31 - 1], [-1, 2 ** -31, 0.5, 1 - 2 ** -31]],
    ['32f', [-1, 0.25, 1.5], [-1, 0.25, 1.5]],
    ['64', [-0.1, 0.3], [-0.1, 0.3]],
  ])('of %s bits is in -1..1', async (bits, samples, expected) => {
    expect(await decodeWav(write(bits, samples))).toEqual({ rate: 22_050, channels: [Float64Array.from(expected)] });
  });

  it('has its channels apart, and its rate', async () => {
    expect(await decodeWav(write('16', [[16_384, 0, -8192], [0, 32, 64]], 48_000))).toEqual({ rate: 48_000, channels: [Float64Array.of(0.5, 0, -0.25), Float64Array.of(0, 2 ** -10, 2 ** -9)] });
  });

  it.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(), /another kind of file/],
    ['text', new TextEncoder().encode('anna,17\n'.repeat(9)), /another kind of file/],
    ['a header alone', write('16', [1, 2, 3]).subarray(0, 20), /another kind of file or a damaged one/],
    ['an MP3 frame', Uint8Array.from({ length: 400 }, (_, i) => [0xff, 0xfb, 0x90, 0x64][i] ?? 0), /ffmpeg/],
  ])('is not made from %s', async (_, bytes, message) => {
    expect(await decodeWav(bytes)).toEqual({ unreadable: expect.stringMatching(message) as string });
  });

  it('that is cut off, wherever, is refused', async () => {
    const whole = write('16', Array.from({ length: 60 }, (_, i) => 300 * i));
    for (let length = 0; length < whole.length; length += 1) expect(await decodeWav(whole.subarray(0, length))).toHaveProperty('unreadable');
    expect(await decodeWav(whole.subarray(0, 100))).toEqual({ unreadable: 'it is cut off: expected 120 bytes of samples, found 56' });
  });

  it('of another encoding is refused with the command that converts it', async () => {
    const wave = new WaveFile(write('16', [1, 2, 3, 4]));
    wave.toMuLaw();
    expect(await decodeWav(wave.toBuffer())).toEqual({ unreadable: expect.stringMatching(/another encoding; convert it, for example with ffmpeg -i IN -c:a pcm_s16le OUT\.wav/) as string });
  });
});
