/** The keys of the state in which main tells `post` what a killed main leaves behind. */
export const STATE_FOLDER = 'folder';
export const STATE_PROCESSES = 'processes';
/** A builder of this machine's own engine. */
export const STATE_LOCAL_BUILDER = 'local-builder';
/** What a set-up step leaves running. */
export const STATE_SETUP = 'setup';
