/** The keys of the state in which main tells `post` what a killed main leaves behind. */
export const STATE_FOLDER = 'folder';
export const STATE_PROCESSES = 'processes';
