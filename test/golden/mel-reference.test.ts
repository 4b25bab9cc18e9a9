import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { createLogMel, samplesOf } from '../../shared/data/mel.ts';
import { parseNpy } from '../../shared/data/npy.ts';
import { decodeWav } from '../../shared/platform/decoders/wav.ts';
import { describeWithShared, sharedFile } from '../support/shared-data.ts';

const shared = (path: string): Uint8Array => new Uint8Array(readFileSync(sharedFile(path) ?? ''));

describeWithShared('spectrograms that another program has made of 3000 spoken digits', ['data/avmnist/mel.npy', 'data/avmnist-wav/audio.wav', 'data/avmnist-wav/clips.csv'], () => {
  it('are what the WAV reader and the log-mel give: 255 at a clip\'s peak, 0 at 80 dB below, to the rounding of a byte', async () => {
    const size = { rate: 8000, window: 256, hop: 200, bands: 32, frames: 32, lowest: 60, highest: 4000, floor: 1e-20 };
    const logMel = createLogMel(size);
    const reference = parseNpy(shared('data/avmnist/mel.npy'), 'mel.npy');
    expect(reference.shape).toEqual([3000, 32, 32]);
    const audio = await decodeWav(shared('data/avmnist-wav/audio.wav'));
    if ('unreadable' in audio) throw new Error(audio.unreadable);
    const [samples = new Float64Array()] = audio.channels;
    const clips = new TextDecoder().decode(shared('data/avmnist-wav/clips.csv')).trim().split('\n').slice(1).map((line) => line.split(',').map(Number));
    let worst = 0;
    for (let clip = 0; clip < clips.length; clip += 7) {
      const [first = 0, count = 0] = (clips[clip] ?? []).slice(6);
      // The reference has half a window of zeros in front, and looks at 6400 samples.
      const sound = new Float64Array(samplesOf(size));
      sound.set(samples.subarray(first, first + Math.min(count, 6400, sound.length - 128)), 128);
      // It adds 1e-10 to powers that it does not divide by the window's sum, 128, squared.
      const decibels = logMel(sound).map((x) => 10 * Math.log10(Math.exp(x) * 128 ** 2 + 1e-10));
      const peak = decibels.reduce((most, x) => Math.max(most, x), -Infinity);
      decibels.forEach((x, i) => {
        const expected = Math.max(0, 255 + ((x - peak) * 255) / 80);
        worst = Math.max(worst, Math.abs(expected - reference.data[clip * 1024 + i]!));
      });
    }
    expect(worst).toBeLessThan(0.55);
  });
});
