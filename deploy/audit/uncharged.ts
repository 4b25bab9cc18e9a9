/** Said with every figure that an attack has measured: it comes from the private records themselves, and no ledger counts it. */
export const UNCHARGED = 'Measured on the records themselves, without noise of its own and outside of every budget: for whoever holds them all. To pass these figures on is a release that no ledger counts.';
