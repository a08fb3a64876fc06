/** Stands in for @actions/http-client in the bundles: nothing that is used of @actions/core needs it. */
export class HttpClient {
  constructor() {
    throw new Error('this bundle has no HTTP client of @actions/core');
  }
}

export class BearerCredentialHandler {}
