import type { Dataset } from '../../shared/data/dataset.ts';
import { gatherRecords } from '../../shared/data/features.ts';

/** All features of a dataset, [records, size], wherever they are kept. */
export function featuresOf(dataset: Pick<Dataset, 'size' | 'features' | 'labels'>): Float32Array {
  return gatherRecords(dataset, [...dataset.labels.keys()]);
}
