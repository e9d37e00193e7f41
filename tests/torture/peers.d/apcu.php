<?php
// The load of load.c on APCu: processes forked from one, which has the
// segment.  Arguments: FOLDER WORKERS SEED.
const BATCH = 10, N_VALUES = 2000, N_NUMBERS = 64, TEXT_BYTES = 8192;
// Words of the board: as struct board of load.c.
const REQUEST = 0, PID = 0, N_OPERATIONS = 1, N_REFUSED = 2, HAS_DONE = 3;

[, $folder, $workers, $seed] = $argv;
$libc = FFI::cdef('int prctl(int option, unsigned long value);
    int open(const char *path, int flags, ...);
    int poll(void *descriptors, unsigned long n, int ms);
    void *mmap(void *at, size_t n, int protection, int flags, int fd,
               long from);');
const PR_SET_PDEATHSIG = 1;

function wrong(string $text): never
{
    global $folder, $libc;
    file_put_contents("$folder/wrong", "$text\n", FILE_APPEND);
    for (;;) {
        $libc->poll(null, 0, 1000);
    }
}

final class Worker
{
    private $board;
    private int $first; // Word of its place.
    private string $text = '';

    public function __construct(private int $number, int $seed)
    {
        global $folder, $libc;
        $fd = $libc->open("$folder/board", 2);
        $this->board = $libc->cast('uint64_t *',
            $libc->mmap(null, 4096, 3, 1, $fd, 0));
        $this->first = 8 * ($number + 1);
        mt_srand($seed * 8 + $number
            + 97 * $this->board[$this->first + N_OPERATIONS]);
        for ($i = 0; $i < TEXT_BYTES; $i++) {
            $this->text .= chr(mt_rand(97, 122));
        }
    }

    private function makeValue(string $key, int $longest): string
    {
        $n = mt_rand(1, $longest);
        $body = substr($this->text, mt_rand(0, TEXT_BYTES - $n), $n);
        return sprintf('%s %08x %s', $key, crc32($key . $body), $body);
    }

    private function check(string $key, mixed $value): void
    {
        $n = strlen($key);
        if (!is_string($value) || !str_starts_with($value, "$key ")) {
            wrong("corrupt value: $key has "
                . substr(var_export($value, true), 0, 20));
        }
        $sum = sprintf('%08x', crc32($key . substr($value, $n + 10)));
        if (substr($value, $n + 1, 8) !== $sum) {
            wrong("corrupt value: the checksum of $key, " . strlen($value)
                . ' bytes, is wrong');
        }
    }

    private function note(bool $isDone): void
    {
        if (!$isDone) {
            $this->board[$this->first + N_REFUSED] += 1;
        }
    }

    private function operate(): void
    {
        $kind = mt_rand(0, 99);
        $key = sprintf('v%04u', mt_rand(0, N_VALUES - 1));
        if ($kind < 30) {
            $value = apcu_fetch($key, $isThere);
            if ($isThere) {
                $this->check($key, $value);
            }
        } elseif ($kind < 65) {
            $this->note(apcu_store($key, $this->makeValue($key, 3000)));
        } elseif ($kind < 80) {
            apcu_delete($key);
        } elseif ($kind < 90) {
            $key = sprintf('n%04u', mt_rand(0, N_NUMBERS - 1));
            $sum = apcu_inc($key, 1, $isDone);
            $this->note($isDone);
            if ($isDone && $sum < 1) {
                wrong("corrupt value: $key is $sum");
            }
        } else { // It has no lists.
            $this->note(apcu_store('list', $this->makeValue('list', 300)));
        }
    }

    private function audit(): void
    {
        foreach (new APCUIterator() as $entry) {
            $key = $entry['key'];
            if ($key[0] === 'v' || $key === 'list') {
                $this->check($key, $entry['value']);
            } elseif ($key[0] !== 'n') {
                wrong('corrupt key: ' . substr($key, 0, 20));
            }
        }
    }

    private function answerRequest(): void
    {
        global $libc;
        while ($request = $this->board[REQUEST]) {
            if ($request !== $this->board[$this->first + HAS_DONE]) {
                if ($request % 2 && $this->number === 0) {
                    $this->audit();
                }
                $this->board[$this->first + HAS_DONE] = $request;
            }
            $libc->poll(null, 0, 1);
        }
    }

    public function work(): never
    {
        $this->board[$this->first + HAS_DONE] = 0;
        $this->board[$this->first + PID] = getmypid();
        for (;;) {
            $this->answerRequest();
            for ($i = 0; $i < BATCH; $i++) {
                $this->operate();
            }
            $this->board[$this->first + N_OPERATIONS] += BATCH;
        }
    }
}

function start(int $number): int
{
    global $libc, $seed;
    $pid = pcntl_fork();
    if ($pid === 0) {
        $libc->prctl(PR_SET_PDEATHSIG, SIGKILL);
        try {
            (new Worker($number, (int) $seed))->work();
        } catch (Throwable $problem) {
            wrong($problem->getMessage());
        }
    }
    return $pid;
}

if (!apcu_enabled()) {
    fwrite(STDERR, "APCu is not enabled\n");
    exit(1);
}
$pids = [];
for ($i = 0; $i < $workers; $i++) {
    $pids[$i] = start($i);
}
for (;;) {
    $pid = pcntl_wait($status);
    fwrite(STDERR, pcntl_wifsignaled($status)
        ? "worker $pid died by signal " . pcntl_wtermsig($status) . "\n"
        : "worker $pid ended with status " . pcntl_wexitstatus($status)
            . "\n");
    $i = array_search($pid, $pids, true);
    $pids[$i] = start($i);
}
