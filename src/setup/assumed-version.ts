/**
 * BuildKit's version as an inspect shows it until a builder has told its own: the one that this project is tested
 * with. docker/build-push-action and docker/bake-action ask for 0.11.0 or newer before they add their default provenance.
 */
export const ASSUMED_BUILDKIT_VERSION = 'v0.32.2';
