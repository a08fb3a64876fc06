// `npm run bench -- NAME`: each benchmark prints a small table and JSON.
import { becomeRoot } from '../src/local/root.ts';

const [name = '', ...args] = process.argv.slice(2);

if (['burst', 'data', 'start'].includes(name)) becomeRoot();
switch (name) {
  case 'burst':
    await (await import('./burst.ts')).main(args);
    break;
  case 'data':
    await (await import('./data.ts')).main(args);
    break;
  case 'render':
    await (await import('./render.ts')).main(args);
    break;
  case 'start':
    await (await import('./start.ts')).main(args);
    break;
  default:
    console.error('usage: npm run bench -- burst | data | render | start [--help]');
    process.exitCode = 2;
}
