/** The keys of the state in which main tells `post` what a killed main leaves behind. */
export const STATE_FOLDER = 'folder';
export const STATE_PROCESSES = 'processes';
/** What a set-up step leaves running. */
export const STATE_SETUP = 'setup';
