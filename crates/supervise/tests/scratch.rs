//! scratch
use std::time::*;
use supervise::*;
#[test]
fn bench() {
    std::thread::scope(|s| {
        for _ in 0..6 {
            s.spawn(|| for i in 0..400 { let c = Cancel::new(); let (s, r) = std::sync::mpsc::channel(); let cmd = Cmd::new("sh").args(["-c", "echo $$; sleep 1000"]).grace(Duration::from_secs(3)).on_line(move |l| { let _x = s.send(l.to_owned()); });
      let j = std::thread::spawn({ let c = c.clone(); move || {let r = cmd.run(&c).unwrap_err(); drop(r)} }); let l = r.recv().unwrap(); let t = Instant::now(); c.cancel();
      while !j.is_finished() { Cancel::new().wait(Duration::from_millis(1)); if t.elapsed() > Duration::from_millis(1000) {
          let o = std::process::Command::new("sh").args(["-c", &format!("ps -eo pid,ppid,pgid,stat,wchan:20,args | grep -w {l}; for p in $(pgrep -g {l}); do echo == $p; cat /proc/$p/status | grep -E 'Name|State|Pid|Sig|Shd'; cat /proc/$p/wchan; ls -l /proc/$p/exe; done")]).output().unwrap();
          eprintln!("SLOW {i} {}", String::from_utf8_lossy(&o.stdout)); break; } }
      j.join().unwrap(); if t.elapsed() > Duration::from_millis(1000) { eprintln!("took {:?}", t.elapsed()); } });
        }
    });
}
