/** Named in sessions and receipts. Kept equal to package.json by a test. */
export const SOFTWARE = 'antiphon/0.1.0';
