import { z } from 'zod';

export const identifier = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/, 'expected lower-case letters, digits and inner hyphens, at most 64');
export const positive = z.number().positive();
export const count = z.int().positive();
export const rate = z.number().gt(0).lte(1);
export const relativePath = z
  .string()
  .min(1)
  .refine((path) => !path.startsWith('/') && !path.split(/[\\/]/).includes('..'), 'expected a path inside the data folder, without ".."');

/** column -> the value it must have, or the list of values of which it must have one (compared as text). */
export const filter = z.record(z.string(), z.union([z.string(), z.number(), z.array(z.union([z.string(), z.number()])).min(1)]));
