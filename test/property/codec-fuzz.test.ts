import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import { decodeCoordinatorMessage, decodeSiteMessage, encodeMessage } from '../../shared/protocol/codec.ts';
import { isFailure } from '../../shared/protocol/failure.ts';
import { coordinatorMessageSchema, siteMessageSchema, type CoordinatorMessage, type SiteMessage } from '../../shared/protocol/messages.ts';
import { COORDINATOR_MESSAGES, SITE_MESSAGES } from '../support/example-messages.ts';

const sides = [
  { name: 'site', decode: decodeSiteMessage, schema: siteMessageSchema, examples: SITE_MESSAGES },
  { name: 'coordinator', decode: decodeCoordinatorMessage, schema: coordinatorMessageSchema, examples: COORDINATOR_MESSAGES },
] as const;
const packr = new Packr({ useRecords: false, variableMapSize: true });

/** Whatever came in: a named failure of three fields, or a message with exactly the schema's fields. Never a throw. */
function isSafe({ decode, schema }: (typeof sides)[number], bytes: Uint8Array): boolean {
  const decoded: unknown = decode(bytes);
  if (isFailure(decoded)) return Object.keys(decoded).length === 3 && typeof decoded.code === 'string' && typeof decoded.message === 'string' && decoded.message.length <= 300;
  return schema.safeParse(decoded).success;
}

describe.each(sides)('what a $name may send', (side) => {
  const example = fc.constantFrom<readonly (SiteMessage | CoordinatorMessage)[]>(...side.examples.map((message) => [message])).map(([message]) => message!);

  it('random bytes give a named failure', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => isSafe(side, bytes)), { numRuns: 1000 });
  });

  it('changed bytes of a valid message give a named failure or another valid message', () => {
    const change = fc.record({ at: fc.nat(), byte: fc.nat(255), kind: fc.constantFrom('set', 'insert', 'remove', 'cut') });
    fc.assert(
      fc.property(example, fc.array(change, { minLength: 1, maxLength: 4 }), (message, changes) => {
        const bytes = [...encodeMessage(message)];
        for (const { at, byte, kind } of changes) {
          const place = at % (bytes.length + 1);
          if (kind === 'set' && place < bytes.length) bytes[place] = byte;
          else if (kind === 'insert') bytes.splice(place, 0, byte);
          else if (kind === 'remove') bytes.splice(place, 1);
          else if (kind === 'cut') bytes.length = place;
        }
        return isSafe(side, Uint8Array.from(bytes));
      }),
      { numRuns: 1500 },
    );
  });

  it('an extra field, or a field of any other type, is malformed', () => {
    const value = fc.oneof(fc.integer(), fc.double(), fc.boolean(), fc.constant(null), fc.string(), fc.uint8Array({ maxLength: 8 }), fc.array(fc.integer(), { maxLength: 3 }), fc.dictionary(fc.string(), fc.integer(), { maxKeys: 2 }));
    fc.assert(
      fc.property(example, fc.string({ minLength: 1, maxLength: 12 }), value, (message, key, extra) => {
        fc.pre(!(key in message));
        const decoded = side.decode(packr.pack({ ...message, [key]: extra }));
        expect(decoded).toMatchObject({ type: 'failure' });
        expect(isFailure(decoded) && decoded.code).toMatch(/^(?:malformed|version-mismatch)$/);
      }),
    );
    fc.assert(
      fc.property(example, fc.nat(), value, (message, which, other) => {
        const keys = Object.keys(message);
        return isSafe(side, packr.pack({ ...message, [keys[which % keys.length]!]: other }));
      }),
    );
  });
});
