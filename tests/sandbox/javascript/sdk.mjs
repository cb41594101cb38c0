// What E2B's JavaScript SDKs do against the service that the environment names. Prints one line of JSON.
import { Sandbox as Plain } from 'e2b'
import { Sandbox } from '@e2b/code-interpreter'

const told = {}
const sandbox = await Sandbox.create({ metadata: { from: 'javascript' }, envs: { GREETING: 'hello' } })
try {
  const streamed = []
  const done = await sandbox.runCode("import os; print('out'); x = 6 * 7; x, os.environ['GREETING']", {
    onStdout: (line) => streamed.push(line.line ?? line),
  })
  told.cell = { text: done.text, stdout: done.logs.stdout, streamed }
  told.error = (await sandbox.runCode('1/0')).error.name
  told.script = (await sandbox.runCode('[1, 2].map((it) => it * x).length', { language: 'js' })).text ?? 'no x there'
  const chart = "import matplotlib.pyplot as plt; plt.bar(['a'], [1]); plt.show()"
  told.chart = (await sandbox.runCode(chart)).results[0].chart.type
  const context = await sandbox.createCodeContext({ cwd: '/tmp' })
  told.folder = (await sandbox.runCode('import os; os.getcwd()', { context })).text
  await sandbox.files.write('from.txt', 'written')
  told.read = await sandbox.files.read('from.txt')
  told.listed = (await sandbox.files.list('/home/user')).map((entry) => entry.name).filter((name) => !name.startsWith('.'))
  told.missing = await sandbox.files.read('nothing').catch((error) => error.name)
  const seen = []
  const handle = await sandbox.files.watchDir('/home/user', (event) => seen.push(event.name))
  await sandbox.files.write('watched.txt', 'x')
  while (seen.length === 0) await new Promise((go) => setTimeout(go, 20))
  await handle.stop()
  told.watched = seen[0]
  told.command = (await sandbox.commands.run('echo $GREETING')).stdout
  told.failed = await sandbox.commands.run('exit 3').catch((error) => error.exitCode)
  const background = await sandbox.commands.run('cat', { background: true, stdin: true })
  await sandbox.commands.sendStdin(background.pid, 'fed')
  told.killed = await background.kill()
  const again = await Plain.connect(sandbox.sandboxId)
  told.connected = (await again.commands.run('cat from.txt')).stdout
  told.info = (await sandbox.getInfo()).metadata
  await sandbox.pause()
  told.paused = !(await sandbox.isRunning())
  const resumed = await Sandbox.connect(sandbox.sandboxId)
  told.resumed = (await resumed.runCode('x')).text
  const download = await resumed.downloadUrl('from.txt')
  told.signed = await (await fetch(download)).text()
} finally {
  told.ended = await sandbox.kill()
}
told.gone = !(await sandbox.isRunning())
const stranger = await Sandbox.create({ apiKey: `e2b_${'0'.repeat(40)}` }).catch((error) => error.name)
console.log(JSON.stringify({ ...told, stranger }))
