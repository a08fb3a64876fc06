// `npm run bench -- NAME`: each benchmark prints a small table and JSON.
const [name = '', ...args] = process.argv.slice(2);

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
