/** Said in the same words in every output of a study without privacy. */
export const NO_PRIVACY = 'NO PRIVACY: this study has neither clipping nor noise; its updates and its model can reveal patients. For comparison only.';
export const NO_EPSILON = 'no privacy, so no epsilon';
