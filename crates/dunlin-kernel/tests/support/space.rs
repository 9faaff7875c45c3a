use super::run;

/// A namespace kept by a sleeping thread.
pub struct Space {
    tasks: std::sync::mpsc::Sender<Box<dyn FnOnce() + Send>>,
    tid: i32,
}

impl Space {
    pub fn new() -> Space {
        let (tasks, queue) = std::sync::mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // SAFETY: no pointers; only this thread moves.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
            // SAFETY: no arguments.
            tell.send(unsafe { libc::gettid() }).unwrap();
            queue.iter().for_each(|task| task());
        });
        Space {
            tasks,
            tid: told.recv().unwrap(),
        }
    }

    pub fn with<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = std::sync::mpsc::channel();
        self.tasks
            .send(Box::new(move || tell.send(task()).unwrap()))
            .unwrap();
        told.recv().unwrap()
    }

    pub fn run(&self, line: impl Into<String>) {
        let line = line.into();
        self.with(move || run(&line));
    }

    pub fn take(&self, link: &str) {
        run(&format!(
            "ip link set {link} netns /proc/{}/task/{}/ns/net",
            std::process::id(),
            self.tid
        ));
    }
}
