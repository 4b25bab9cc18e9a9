/** The results of `work` in the order of the items, at most `atOnce` of them under way; the first failure ends it. */
export async function* inOrder<T, R>(items: Iterable<T>, atOnce: number, work: (item: T) => Promise<R>): AsyncGenerator<{ readonly item: T; readonly result: R }> {
  const underWay: { readonly item: T; readonly result: Promise<R> }[] = [];
  for (const item of items) {
    const result = work(item);
    // Its turn to be awaited may never come, after the failure of another.
    result.catch(() => undefined);
    underWay.push({ item, result });
    const oldest = underWay.length < atOnce ? undefined : underWay.shift();
    if (oldest !== undefined) yield { item: oldest.item, result: await oldest.result };
  }
  for (const { item, result } of underWay) yield { item, result: await result };
}
