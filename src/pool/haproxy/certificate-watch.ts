/**
 * HAProxy reads its certificates when it starts. What is renewed later is given to it over its administration socket
 * (management.txt, `set ssl cert`, `set ssl ca-file`), for its clients' side and for its servers alike: new handshakes
 * have the new files, and connections that stand notice nothing.
 */

export interface CertificateWatch {
  readonly adminSocketPath: string;
  /** Folders with `tls.crt`, `tls.key` and `ca.crt`, each by the path that the configuration has. */
  readonly folders: readonly string[];
}

/** A renewed Secret reaches the pod's folder within a minute or two; this comes on top. In seconds. */
const LOOK_SECONDS = 10;

/** Each TLS context of hundreds of builders is made anew before HAProxy answers. In seconds. */
const ANSWER_SECONDS = 60;

/**
 * The shell function `watch_certificates`, to be run in the background once `$haproxy` is HAProxy's process; it ends soon
 * after it. Needs socat, which HAProxy's official image has since the end of 2025 (docker-library/haproxy, 3fc3329).
 *
 * The first look loads what HAProxy has just read: should this ever fail, it is known at the start and not months later.
 * HAProxy knows one change of a certificate and one of a CA at a time, so the files come one after another.
 *
 * A CA only since 3.3: before 7482b6ebf in HAProxy's sources, a CA, a certificate and a CA in this order end the process
 * (seen on 2.6.12). Older branches have that in their latest releases, which is not worth telling apart.
 */
export function renderCertificateWatch({ adminSocketPath, folders }: CertificateWatch): string {
  return `ask() {
  socat -t ${ANSWER_SECONDS} - UNIX-CONNECT:${adminSocketPath} 2>&1
}
# load cert|ca-file PATH PEM. Keys go through pipes: never into a program's arguments, a file or the log.
load() {
  answer=$(printf 'set ssl %s %s <<\\n%s\\n\\n' "$1" "$2" "$3" | ask)
  case $answer in
    *ransaction\\ created* | *ransaction\\ updated*) answer=$(echo "commit ssl $1 $2" | ask) ;;
  esac
  case $answer in
    *Success!*)
      echo "certificates: $2 is in use" >&2
      return 0
      ;;
  esac
  echo "abort ssl $1 $2" | ask > /dev/null
  refuse "$2" "$answer"
}
# refuse PATH REASON
refuse() {
  refused="$refused
certificates: $1 is not taken up, the one before stays in use: $(printf %s "$2" | tr -s '\\n' ' ')"
  return 1
}
# load_authorities PATH PEM BEFORE
load_authorities() {
  case $version in
    *version\\ [12].* | *version\\ 3.[012].*)
      [ -z "$3" ] || refuse "$1" 'HAProxy before 3.3 reads it at its start only, so replace the load balancer'
      ;;
    *) load ca-file "$1" "$2" ;;
  esac
}
# read_folder FOLDER: $pair and $authorities, without what stands between the blocks.
read_folder() {
  # The kubelet replaces all files at once, by leading ..data elsewhere: those that belong together.
  cd -P "$1/..data" 2> /dev/null || cd -P "$1" || return
  pair=$(sed -n '/-BEGIN/,/-END/p' tls.crt tls.key) && authorities=$(sed -n '/-BEGIN/,/-END/p' ca.crt)
}
# A refusal is tried again at each look, and told once.
watch_certificates() {
  version=$(haproxy -v)
  told='' ${folders.map((_, index) => `pair_${index}='' authorities_${index}=''`).join(' ')}
  while sleep ${LOOK_SECONDS} && kill -0 "$haproxy" 2> /dev/null; do
    refused=''
${folders.map(look).join('\n')}
    [ "$refused" = "$told" ] || [ -z "$refused" ] || echo "\${refused#?}" >&2
    told=$refused
  done
}
`;
}

function look(folder: string, index: number): string {
  const [pair, authorities] = [`pair_${index}`, `authorities_${index}`];
  return `    if read_folder ${folder}; then
      if [ "$pair" != "$${pair}" ] && load cert ${folder}/tls.crt "$pair"; then
        ${pair}=$pair
      fi
      if [ "$authorities" != "$${authorities}" ] && load_authorities ${folder}/ca.crt "$authorities" "$${authorities}"; then
        ${authorities}=$authorities
      fi
    fi`;
}
